"""How requests come and answers leave, whatever they are about: bodies, addresses, limits, connections."""
