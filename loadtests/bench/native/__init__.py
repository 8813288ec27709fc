"""make native-trial: the native branch on a database of size, under webhooks, with the locks that it takes."""
