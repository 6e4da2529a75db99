// The test is that this program was built: a source file for each public header is linked in.
int main() { return 0; }
