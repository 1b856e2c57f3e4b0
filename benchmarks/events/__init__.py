"""Events in, asked for, told of, and files of them."""
