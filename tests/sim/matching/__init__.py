"""How long until somebody says yes, for a community of so many people across so many time zones."""
