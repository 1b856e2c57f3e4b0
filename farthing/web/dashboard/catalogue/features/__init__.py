"""Pages of features, of the meters behind them, and of the groups under which features and prices stand.

Does not own what a plan includes of a feature (`plans`).
"""
