"""Sessions as the checks use them: reused where they may be, guarded, and held to the rules of the contract."""
