"""Looking at one artifact: `words` says what is in it, `pictures` draws it."""
