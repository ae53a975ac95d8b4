"""Other ways to train on little data, which ADA is compared with (section 4.1, figure 8a)."""
