"""Operations on a whole deployment: checks, and the move to another database or file store."""
