"""Four hospitals' FHIR, the truth it was rendered from, and the renderer (`python -m sample_bundles.render`)."""
