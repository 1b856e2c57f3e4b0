"""How people get in: passwords, sessions, second factors, back-off, and links to set a password.

Does not own API keys, nor what a person may do once inside. Invariants:

- whoever is signed in has a row that is neither revoked nor expired, and that was opened with today's password;
- tokens, links and recovery codes are stored as hashes only; a link, a code and a recovery code work once;
- a wrong password costs the same time, and answers the same words, whether or not the email is known;
- failures are counted before the password is looked at, in the database, for all processes together.
"""
