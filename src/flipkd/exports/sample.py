"""Pairs of neutral texts for the check of an export when no pairs are given."""

from __future__ import annotations

SAMPLE = [
    ("I lost my card", "My card is missing"),
    ("I lost my card", "How do I change my PIN?"),
    ("Where is the order that I placed on Monday?", "My parcel has not arrived yet"),
    ("Where is the order that I placed on Monday?", "Can I pay an invoice by bank transfer?"),
    ("The screen of the phone is broken", "The display has a crack"),
    ("The screen of the phone is broken", "The battery of the phone is empty after an hour"),
    ("How can I close my account?", "I want to cancel my membership and delete all of my data"),
    ("How can I close my account?", "Opening hours of the office in the city centre"),
    ("Acme Tools Ltd, 12 Mill Road, Leeds", "ACME Tools Limited, Mill Rd 12, Leeds"),
    ("Acme Tools Ltd, 12 Mill Road, Leeds", "Northern Paint Company, 3 Station Street, York"),
    ("  Two  spaces,\na line break and a soft\u00adhyphen ", "Two spaces, a line break and a soft hyphen"),
    ("Café, naïve, 東京, Ελλάδα, 100 €", "Cafe\u0301 and nai\u0308ve"),
]
