"""eBay: Stanford Online Products, tables of listings, the Browse API."""
