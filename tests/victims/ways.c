/* SPDX-License-Identifier: MIT */
/*
 * Ways out of functions that only call frame information tells: the library is stripped,
 * and of its functions those that begin with w_ alone are exported. Offsets in
 * test_probes.c are those of these bytes.
 */
int ways_loaded = 1;

#ifdef __x86_64__
/* clang-format off */
__asm__(".text\n"
	".macro function name\n.type \\name,@function\n\\name:\n.cfi_startproc\n.endm\n"
	".macro end name\n.cfi_endproc\n.size \\name, .-\\name\n.endm\n"
	".globl w_back,w_frame,w_tail,w_jumps,w_bare,w_unknown,w_shared,w_middle\n"

	/* its half jumps back: 0 jne, 6 ret */
	"function w_back\n .byte 0x0f,0x85\n .long half_back-.-4\nback: ret\nend w_back\n"

	/* its half has its frame: 4 jne, 14 ret */
	"function w_frame\n sub $8,%rsp\n .cfi_def_cfa_offset 16\n"
	" .byte 0x0f,0x85\n .long half_frame-.-4\n add $8,%rsp\n"
	" .cfi_def_cfa_offset 8\n ret\nend w_frame\n"

	/* a function without a name: 0 jne, 6 jmp */
	"function w_tail\n .byte 0x0f,0x85\n .long nameless-.-4\n"
	" .byte 0xe9\n .long nameless-.-4\nend w_tail\n"

	/* through a pointer with the frame, then without: 4 jmp, 10 jmp, 12 ret */
	"function w_jumps\n sub $8,%rsp\n .cfi_def_cfa_offset 16\n jmp *%rax\n"
	" add $8,%rsp\n .cfi_def_cfa_offset 8\n jmp *%rax\n ret\nend w_jumps\n"

	/* never with a frame: 0 jmp, 2 ret */
	"function w_bare\n jmp *%rax\n ret\nend w_bare\n"

	/* no ret to judge the information by: 4 jmp stays */
	"function w_unknown\n sub $8,%rsp\n .cfi_def_cfa_offset 16\n jmp *%rax\n"
	"end w_unknown\n"

	/* into the middle of a function: 0 jmp */
	"function w_middle\n .byte 0xe9\n .long w_shared+1-.-4\nend w_middle\n"
	"function w_shared\n nop\n nop\n ret\nend w_shared\n"

	"function nameless\n nop\n ret\nend nameless\n"

	".section .text.unlikely,\"ax\",@progbits\n"
	"function half_back\n nop\n .byte 0x74\n .byte 5\n .byte 0xe9\n .long back-.-4\n"
	" ret\nend half_back\n"
	"function half_frame\n .cfi_def_cfa_offset 16\n add $8,%rsp\n"
	" .cfi_def_cfa_offset 8\n ret\nend half_frame\n"
	".text\n");
/* clang-format on */
#endif
