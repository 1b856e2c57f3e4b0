"""Settings of an environment: the catalogue of keys with defaults and checks (`catalogue`), and those in force
(`current`).
"""
