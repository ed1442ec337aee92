"""Every backbone family with every head that fits it: what is made up, what is measured, and the page that says so."""
