"""Makes the helpers beside this file importable for the tests here and in `hospital`."""
