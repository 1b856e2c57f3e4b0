"""What holds for every route there is: it is guarded, refuses in words, and shows nobody what is another's."""
