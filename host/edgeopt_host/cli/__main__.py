from edgeopt_host.cli import main

main()
