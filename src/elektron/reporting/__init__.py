"""What a run has shown, for people: `runs` reads its folder, `report` draws it as a page."""
