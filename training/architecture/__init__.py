"""The networks: layers, and the generators and discriminators made of them."""
