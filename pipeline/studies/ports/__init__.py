"""The ports side by side: what each has, what was published, what it scores here, and what each of
its deviations costs."""
