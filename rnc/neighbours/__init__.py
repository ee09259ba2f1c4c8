"""Four papers that ask the next questions, a module each; on the library, not on the study."""
