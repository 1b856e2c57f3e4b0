"""The commands about who gets in: API keys, people who sign in, and the master key that seals their secrets.

Does not own what keys and people may do (`identity`), nor how the master key is changed (`rotation`).
"""
