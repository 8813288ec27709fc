"""The lint of SQL texts: tokens first, then one module per kind of hazard."""
