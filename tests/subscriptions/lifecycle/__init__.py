"""How subscriptions come to be, are brought to the present, and end."""
