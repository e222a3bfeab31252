"""Both ends of the ccnvr link: frames, messages, session, driver and device."""
