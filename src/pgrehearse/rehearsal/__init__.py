"""The rehearsal itself: clone, observe, apply, observe, judge; its receipt and how that reads."""
