"""Runs made where there is no network: what is carried there, and the records that come back."""
