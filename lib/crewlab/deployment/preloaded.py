"""Importing this module preloads the fork server; nothing else imports it."""

from crewlab.deployment.preload import import_all

import_all()
