import sys

from runtime.roles.main import main

sys.exit(main())
