"""Who is looking at a page: sessions of people in a browser, and what a page demands of them."""
