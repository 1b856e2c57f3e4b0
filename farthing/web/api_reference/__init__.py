"""The API as pages under `/docs`: every operation by subject, and every type that bodies and answers are made of.

Owns how the OpenAPI document is read by people; what it says comes from the document alone. The pages are public, as
`/openapi.json` is, and show nothing of any tenant.
"""
