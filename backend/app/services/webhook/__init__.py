"""What a TradingView delivery goes through, stage by stage."""
