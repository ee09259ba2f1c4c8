from rnc.cli import main

main()
