"""What a plan, an addon or a subscription includes of a feature: limits, switches, texts, values, and usage grants.

Owns entitlements and how those of one subscription merge into what its customer may use. Does not own the usage that
is held against them, the windows that grants open (`billing`), nor the arithmetic of allowances
(`rating.commitments.allowance`). Invariants:

- an owner entitles a feature once, except for entitlements with parallel grants, which stand side by side;
- owner and feature never change; everything else may, and the next invoice computed follows it;
- a limit of null is unlimited; a limit of zero is none.
"""
