"""The ccnvr link, both ends: frames, messages, session, driver, device."""
