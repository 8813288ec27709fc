"""What follows outside of the group's transaction: brokers are asked, for SELLs before it and for AUTO orders after it."""
