"""What hostile nodes do, and what honest ones keep all the same."""
