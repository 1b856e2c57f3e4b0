"""The pages: a dashboard for those who bill, and a portal for those who are billed.

Owns: what is shown and how it looks; the sessions of people who sign in with a browser. Owns no figures: every number
comes from the domain that owns it, through the same functions and under the same permissions as over the API.

Every page is rendered here, on the server; the scripts only refresh what is there, and each page works without them.
Nothing is loaded from anywhere else, and nothing inline is allowed to run.
"""
