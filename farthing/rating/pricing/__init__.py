"""What a quantity costs, unrounded: the price (`price`), its tiers, its cost and explanation, custom price units."""
