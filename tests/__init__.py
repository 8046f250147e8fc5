"""The proofs: helpers, contracts, notebooks, and the page in a browser."""
