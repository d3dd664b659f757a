"""Creating jobs: requests are checked field by field and made plans."""
