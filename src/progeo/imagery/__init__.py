"""Photos of open street-level services as reference: their clients, panoramas cut into views, and the download."""
