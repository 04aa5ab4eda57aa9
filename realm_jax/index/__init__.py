"""Maximum inner product search: which passages' vectors have the largest inner products with a query's vector."""
