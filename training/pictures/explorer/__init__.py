"""A page in the browser that makes pictures by the functions of the commands."""
