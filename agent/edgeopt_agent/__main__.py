from edgeopt_agent.cli import main

main()
