"""Reading many things at once: lists with their pages, the search language, and what is expanded in an answer."""
