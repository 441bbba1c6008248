"""The generated pages of results/ and docs/."""
