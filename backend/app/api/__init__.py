"""HTTP routes: thin, one module per path prefix; `app.api.routes` puts them together."""
