"""An order on its way to a broker: asked once, and what follows when nobody knows what the broker said."""
