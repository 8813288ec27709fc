"""Settings, authentication, text rules and clocks: what every other layer stands on."""
