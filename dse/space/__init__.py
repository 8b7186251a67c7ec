"""Design spaces: what a sweep file says, checked, and what each point of it is."""
